"""Commands for TigerBeetle clusters: run one, mirror into it, reconcile with it."""
