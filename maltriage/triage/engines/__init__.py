"""Several engines for one scan: chunks of a walk, pools of engines, records in one order."""
