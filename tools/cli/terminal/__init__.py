"""The terminal itself: parameters, tables, progress, interruption, and what failures say."""
