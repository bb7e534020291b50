"""Reports: what leaves the database, made from verified entries only."""
