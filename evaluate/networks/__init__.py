"""Networks that look at pictures: from the user's files, or what ships."""
