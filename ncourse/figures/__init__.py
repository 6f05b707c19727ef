"""Figures: one palette and one style, with alt text, still or live."""
