"""What happens to pictures and captions: reading, versions, repair, transfer, and what a trainer sees of them."""
