"""Who is who: users, credentials, grants, sessions and API keys, each change of which is an entry."""
