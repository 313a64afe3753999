"""Speaking with a cluster: sessions, requests, time-outs, retries, queries page by page."""
