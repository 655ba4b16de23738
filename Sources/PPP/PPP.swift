// PPP
