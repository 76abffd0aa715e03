"""Plain frozen records: what subsystems hand to each other."""
