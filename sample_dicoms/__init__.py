"""Synthetic axillary studies, written by ``axnode phantom``; no person's data."""
