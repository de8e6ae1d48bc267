"""Exports of manifests: files for other tools, and copies in other stores."""
