"""The Countersign service: command line, embedded database; the web application is to come."""
