"""Figures for codecs, tokens and speech."""
