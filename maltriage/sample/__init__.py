"""What a sample is: its types, layout, identity, and the views that nets look at."""
