"""Layouts that other software reads."""
