"""A request on its way: callers that meet, the order of decisions, the journal, the answer."""
