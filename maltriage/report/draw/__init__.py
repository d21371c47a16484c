"""Pictures and charts: what is drawn, and the formats that it is drawn in."""
