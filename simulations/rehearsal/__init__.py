"""A whole federation as it will be in hospitals, on one machine: processes, TLS, keys; and what may happen to it."""
