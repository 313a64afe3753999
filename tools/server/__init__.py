"""A ledger over HTTP. Needs the extra ``nostro[server]``; only ``nostro serve`` imports it.

All operations stand in one table, :data:`OPERATIONS`. The routes, the roles, the labels of metrics
and the OpenAPI description follow from it.
"""
