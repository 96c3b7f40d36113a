"""What a hub and a site have in common as services: settings, a private folder, programs that are kept running."""
