"""`octo report`: pages about manifests and runs, a module for each kind of thing."""
