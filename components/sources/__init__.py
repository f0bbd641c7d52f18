"""One kind of data source per file. A source reads; what its rows mean is declared by the recipe's checks."""

KINDS = {
    "audio-folder": "audio_folder:AudioFolderSource",
    "cifar": "pixels:CifarSource",
    "coco": "annotated:CocoSource",
    "delta": "delta:DeltaSource",
    "digits": "digits:DigitsSource",
    "files": "files:FilesSource",
    "generated": "generated:GeneratedSource",
    "image-folder": "image_folder:ImageFolderSource",
    "kafka": "kafka:KafkaSource",
    "mnist": "pixels:MnistSource",
    "mongodb": "mongo:MongoSource",
    "pascal-voc": "annotated:VocSource",
    "redis": "redis_keys:RedisSource",
    "redis-stream": "redis_stream:RedisStreamSource",
    "scikit-learn": "sklearn_set:SklearnSource",
    "sql": "sql:SqlSource",
    "text-folder": "text_folder:TextFolderSource",
    "windows": "windows:WindowsSource",
}
