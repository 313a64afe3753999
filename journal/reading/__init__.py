"""Reading: frames one by one or many at a time, records by position or time, rows by position."""
