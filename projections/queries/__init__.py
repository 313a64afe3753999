"""Queries: filters, the positions they select, past balances, change events."""
