// libnftables: what nft(8) does, in this process.
#pragma once
#include <nftables/libnftables.h>
