"""Devices: meshes, and the axes that arrays are laid out over."""
