// Nettle: MD4, DES, SHA-1 and RC4 for the log-in (RFC 2759, RFC 3079). libcrypto has moved MD4 and DES to its legacy provider.
#pragma once
#include <nettle/arcfour.h>
#include <nettle/des.h>
#include <nettle/md4.h>
#include <nettle/sha1.h>
#include <nettle/memops.h>
