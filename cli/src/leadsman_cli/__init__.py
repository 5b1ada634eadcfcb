"""The command line of Leadsman."""
