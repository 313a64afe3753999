"""A day of payments, a killed writer and a walk back in time: what ``nostro demo`` shows."""
