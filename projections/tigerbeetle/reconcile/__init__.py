"""Reconciling: comparing the whole journal with a cluster, resumably."""
