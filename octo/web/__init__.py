"""`octo ui`: a web application over a store."""
