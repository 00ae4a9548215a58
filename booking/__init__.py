"""Orders, allotments, intake and decisions: the domain of scarce travel."""
