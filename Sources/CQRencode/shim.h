// libqrencode: the symbols of a QR code (ISO/IEC 18004) from bytes.
#pragma once
#include <qrencode.h>
