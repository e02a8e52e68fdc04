"""stub"""
DOUBLE_MATH = {}
