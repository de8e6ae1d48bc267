"""Manifests on their way out: files of the field, and other stores."""
