// PPTP
