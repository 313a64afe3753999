"""A ledger over HTTP. Needs the extra ``nostro[server]``; only ``nostro serve`` imports it.

What can be asked is one table, :data:`OPERATIONS`: the routes, the roles,
the metrics' labels and the OpenAPI description are all made from it.
"""
