/// The command line of lenet_serve.
#pragma once

#include <string>

#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

struct ServeOptions {
  Options service;
  HttpOptions http;
  int stop_seconds = 30;  ///< for the requests that are being answered when the server is stopped
  bool help = false;
  bool version = false;
};

/// \throws apps::UsageError; Error FileNotFound for the file of the token
ServeOptions parse_serve_options(int argc, char** argv);

std::string serve_help();

}  // namespace lenet::serve
