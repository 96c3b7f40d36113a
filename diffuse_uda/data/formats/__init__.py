"""Folder layouts in which a centre may keep its scans."""
