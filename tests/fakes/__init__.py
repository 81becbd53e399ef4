"""Stand-ins that are code with a contract: the same tests run against them and against the real thing."""
