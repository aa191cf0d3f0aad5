// fuzz/nbd_client.h
// Plays the bytes of one NBD client to a connection, and checks that nothing is left behind.
#pragma once

#include <cstdint>
#include <span>

namespace hozon::fuzz {

// The server has a volume "disk" of 1 MiB with a point "p". The connection must end by itself when
// the bytes end, and every buffer must have been given back.
void play_nbd_client(std::span<const uint8_t> bytes);

}  // namespace hozon::fuzz
