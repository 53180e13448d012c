"""The peers' side, one program each, as their own documentation would have it written; none imports anything of the product."""
