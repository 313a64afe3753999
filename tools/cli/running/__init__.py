"""Commands that run for a while: demo, serve, bench."""
