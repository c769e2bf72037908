// A page that runs this has scripts.
postMessage(1);
