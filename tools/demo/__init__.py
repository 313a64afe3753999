"""The demonstration: a day of payments, a writer that is killed, recovery, past balances."""
