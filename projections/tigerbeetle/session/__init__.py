"""Speaking with a cluster: sessions, requests, timeouts, retries, queries, and what it holds."""
