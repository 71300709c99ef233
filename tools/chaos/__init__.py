"""What breaks the system on purpose, and checks that nothing was lost, doubled or changed."""
