/// The command line of lenet_serve.
#pragma once

#include <string>

#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

struct ServeOptions {
  Options service;
  HttpOptions http;
  int grpc_port = -1;       ///< on the host of HTTP, 0: any that is free; -1: no gRPC
  int grpc_streams = 128;   ///< calls at once on a connection
  std::string check_model;  ///< not a server: only this model is loaded, to see whether it can be
  bool skip_trial = false;  ///< models are not loaded in a process of their own first
  int stop_seconds = 30;    ///< for the requests that are being answered when the server is stopped
  bool help = false;
  bool help_all = false;
  bool version = false;
};

/// \throws apps::UsageError; Error FileNotFound for the file of the token
ServeOptions parse_serve_options(int argc, char** argv);

/// \param all describe every option, and not only those that most users need
std::string serve_help(bool all);

}  // namespace lenet::serve
