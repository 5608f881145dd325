package com.example.classifier // the name of your own package

import android.content.Context
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.graphics.RectF
import android.net.Uri
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.core.ImageProcessingOptions
import com.google.mediapipe.tasks.vision.core.RunningMode
import com.google.mediapipe.tasks.vision.imageclassifier.ImageClassifier
import java.io.Closeable
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/** One class that a photo may show; [probability] is in 0..1. */
data class Answer(val label: String, val probability: Float)

/**
 * Says what a photo shows. The model file knows its own preprocessing and labels.
 *
 * Opening takes a moment, so make one and keep it: in a ViewModel, closed in `onCleared`.
 * Every function may be called from any coroutine; one photo is classified at a time.
 */
class PhotoClassifier(private val context: Context, maxResults: Int = 3) : Closeable {
    private val turn = Mutex()
    private val classifier by lazy {
        val model = BaseOptions.builder().setModelAssetPath(MODEL).build()
        val options = ImageClassifier.ImageClassifierOptions.builder()
            .setBaseOptions(model)
            .setRunningMode(RunningMode.IMAGE)
            .setMaxResults(maxResults)
            .build()
        ImageClassifier.createFromOptions(context, options)
    }

    /** A photo of the gallery, as a photo picker returns it; turned upright while it is decoded. */
    suspend fun classify(photo: Uri): List<Answer> = withContext(Dispatchers.Default) {
        val source = ImageDecoder.createSource(context.contentResolver, photo)
        val bitmap = ImageDecoder.decodeBitmap(source) { decoder, _, _ ->
            // MediaPipe reads the pixels, which a bitmap in graphics memory does not give.
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        }
        classify(bitmap)
    }

    /**
     * A bitmap, best class first.
     *
     * @param rotationDegrees how far to turn it clockwise to stand upright: 0, 90, 180 or 270. CameraX
     *   says it in `imageProxy.imageInfo.rotationDegrees`, for the bitmap of `imageProxy.toBitmap()`.
     */
    suspend fun classify(bitmap: Bitmap, rotationDegrees: Int = 0): List<Answer> =
        withContext(Dispatchers.Default) {
            val image = BitmapImageBuilder(bitmap.copy(Bitmap.Config.ARGB_8888, false)).build()
            val middle = RectF(EDGE, EDGE, 1 - EDGE, 1 - EDGE)
            val upright = ImageProcessingOptions.builder()
                .setRotationDegrees(rotationDegrees)
                .setRegionOfInterest(middle)
                .build()
            val result = turn.withLock { classifier.classify(image, upright) }
            result.classificationResult().classifications().first().categories()
                .map { Answer(it.categoryName(), it.score()) }
        }

    /** Gives the model's memory back; not while a photo is being classified. */
    override fun close() = classifier.close()

    private companion object {
        /** In src/main/assets of the app. */
        const val MODEL = "__MODEL_FILE__"

        /** Share of each side of a photo that the model was trained without, at either end. */
        const val EDGE = __EDGE__f
    }
}
