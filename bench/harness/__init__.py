"""The parts that every bench is made of: rounds, ratios, CPU clocks, load, reports."""
