"""The benches: each module has ABOUT (one line), SECONDS (about how long it takes) and run()."""
