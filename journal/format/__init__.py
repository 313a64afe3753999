"""Every byte on disk: frames, payloads, segments, HEAD, containers, and the events in them."""
