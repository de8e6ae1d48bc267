"""Sampling answers: one interface, and an engine behind each implementation."""
