"""What two services of Leadsman share."""
